import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.jar.JarFile;

/**
 * Runs the main method of a jar once for each line of the standard input, whose arguments stand between tabs, and answers "seqrl done" or
 * "seqrl failed: why". Whatever the jar prints goes to the standard error. The end of the input ends the process.
 */
public final class SpiceDriver {
    private SpiceDriver() {}

    public static void main(String[] arguments) throws Exception {
        String name;
        try (JarFile jar = new JarFile(arguments[0])) {
            name = jar.getManifest().getMainAttributes().getValue("Main-Class");
        }
        Method main = Class.forName(name).getMethod("main", String[].class);
        PrintStream answers = System.out;
        System.setOut(System.err);
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            String answer = "seqrl done";
            try {
                main.invoke(null, (Object) line.split("\t"));
            } catch (InvocationTargetException error) {
                error.getCause().printStackTrace();
                answer = "seqrl failed: " + String.valueOf(error.getCause()).replaceAll("\\s+", " ");
            }
            System.err.flush();
            answers.println(answer);
            answers.flush();
        }
    }
}

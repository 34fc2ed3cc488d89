import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Stands for the official program in tests: takes its arguments, and scores an item 1 / (words of its test). Some words make it misbehave. */
public final class OneWordSpice {
    private static int calls = 0;

    public static void main(String[] arguments) throws Exception {
        List<String> given = List.of(arguments);
        String asked = Files.readString(Paths.get(arguments[0]));
        String out = given.get(given.indexOf("-out") + 1);
        calls++;
        System.out.println("seqrl done (printed by the program, which is no answer)");
        if (!given.contains("-subset") || !given.contains("-silent") || !Files.isDirectory(Paths.get(given.get(given.indexOf("-cache") + 1)))) {
            throw new IllegalArgumentException("called otherwise than coco-caption does: " + given);
        }
        if (asked.contains("crash")) {
            throw new IllegalStateException("no graph\nfor this");
        }
        if (asked.contains("hang")) {
            Thread.sleep(60_000);
        }
        if (asked.contains("die")) {
            System.err.println("java.lang.OutOfMemoryError: heap");
            Runtime.getRuntime().halt(3);
        }
        List<String> rows = new ArrayList<>();
        Matcher row = Pattern.compile("\"image_id\": (\\d+), \"test\": \"([^\"]*)\"").matcher(asked);
        while (row.find()) {
            int words = row.group(2).split(" ").length;
            String score = asked.contains("open") ? "NaN" : asked.contains("count") ? "0." + calls : String.valueOf(1.0 / words);
            rows.add("{\"image_id\": " + row.group(1) + ", \"scores\": {\"All\": {\"pr\": 1.0, \"re\": 1.0, \"f\": " + score + "}}}");
        }
        Files.writeString(Paths.get(out), asked.contains("garbage") ? "{\"image" : "[" + String.join(",", rows) + "]");
        if (asked.contains("leave")) {
            System.exit(0);
        }
    }
}

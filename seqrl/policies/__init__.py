"""What acts: policies over tokens, actor-critics, action values, tables, and the networks that they are made of."""

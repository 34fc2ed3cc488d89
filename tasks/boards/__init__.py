"""Board games: tic-tac-toe, Connect-4 and Go, many games at once."""

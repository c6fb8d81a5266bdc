"""What every room uses: checks of arguments, named random numbers, what is printed."""

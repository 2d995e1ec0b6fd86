"""What a program needs besides mathematics: ranks, threads, compiled loops, files, checkpoints, random numbers."""

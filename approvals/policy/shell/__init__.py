"""What a shell command says, as far as its text shows: words, redirections, programs."""

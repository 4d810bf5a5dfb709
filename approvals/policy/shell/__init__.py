"""Analysis of shell commands by their text: words, redirections, programs."""

"""What the model repository's models share: a tokenizer, a text generator, pacing, and the log that tests trust."""

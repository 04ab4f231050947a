"""What stands in a vocabulary of CLIP's kind before anything is learned: marks, and every byte as a letter."""

from tokenizers import pre_tokenizers

START, END = "<|startoftext|>", "<|endoftext|>"  # Stable Diffusion 1 pads with END too, 2 with "!"
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())  # one for each byte
SINGLE = [*LETTERS, *(letter + "</w>" for letter in LETTERS)]  # each alone, and at the end of a word

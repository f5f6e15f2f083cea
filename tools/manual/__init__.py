"""The manual pages in scdoc's language, and the completion of shells, from the programs' own description."""

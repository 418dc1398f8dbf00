"""The commands, one module for each thing a person wants: to label, to look, to mend, to set up, to serve."""

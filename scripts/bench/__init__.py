"""Speed and memory of the engine against the loop one writes first, in one process, side by side."""

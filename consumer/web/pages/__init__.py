"""The pages where people answer: HTML without scripts, made from the output schema of a template."""

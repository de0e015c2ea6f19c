"""The dgfs image format, as docs/format.md has it. The parts follow its sections."""

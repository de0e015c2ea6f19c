"""What tools/bench, tools/seekhist and tools/simdisk share: trees, formats, devices, programs, tables."""

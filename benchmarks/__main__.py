"""``python -m benchmarks`` measures the whole protocol."""

from benchmarks.drain import main

main()

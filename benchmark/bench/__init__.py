"""Speed measurements: `dien-bench bench`. A measurement a file, and what they share in timing, floor and workloads."""

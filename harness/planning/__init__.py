"""What a benchmark will take: steps, FLOPs, time, money and disk, before it runs; without torch and network."""

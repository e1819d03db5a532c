"""What a run found, for people (terminal, report.md, report.html, the model's card) and for programs (metrics.json)."""

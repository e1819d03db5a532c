"""What is told of a run while it goes on: typed events, who listens to them, and lines on the terminal."""

"""What trains: a supervisor for each machine, its pool of slots, and the loop that trains one run."""

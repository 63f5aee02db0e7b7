"""What processes say to each other: router to worker, plan and workers to router, and the labels of objects."""

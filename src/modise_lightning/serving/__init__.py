"""A page to look at exams with a trained model: a small web application for the browser of this machine."""

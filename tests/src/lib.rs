//! Verbs of the stories.

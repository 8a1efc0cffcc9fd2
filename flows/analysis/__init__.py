"""Analysis of videos: inputs, work plan, observation, timeline and the Prefect flow."""

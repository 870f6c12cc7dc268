"""Pipelines of params/ as DAGs of Airflow. Nothing here imports the engine: it is called, as a process."""

"""What a person sees of the labels: boards in a browser, metrics by MetricFlow, dbt's docs."""

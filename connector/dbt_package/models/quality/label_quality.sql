{{ dbt_labels.quality_metrics(ref("label_quality_pairs")) }}

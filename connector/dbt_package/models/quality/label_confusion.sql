{{ dbt_labels.quality_confusion(ref("label_quality_pairs")) }}

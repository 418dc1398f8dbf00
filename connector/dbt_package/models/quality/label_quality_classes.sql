{{ dbt_labels.quality_classes(ref("label_quality_pairs")) }}

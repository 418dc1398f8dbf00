{{ dbt_labels.current_labels(
    source("labels", "comment_labels"), task="comments_to_label", overrides=ref("comment_label_overrides")
) }}

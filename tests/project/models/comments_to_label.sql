{{ dbt_labels.pending(
    texts=ref("stg_comments"),
    labels=source("labels", "comment_labels"),
    claims=source("label_ledger", "label_claims"),
    events=source("label_ledger", "label_events")
) }}

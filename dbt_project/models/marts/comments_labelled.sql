{{ config(materialized="incremental", unique_key="comment_id", on_schema_change="append_new_columns") }}

with comments as (
    select * from {{ ref("stg_comments") }}
),

labels as (
    select * from {{ ref("current_comment_labels") }}
),

labelled as (
    select
        comments.comment_id,
        comments.platform,
        comments.film,
        comments.posted_at,
        comments.comment_text,
        comments.text_key,
        labels.version as label_version,
        labels.sentiment,
        labels.intent,
        labels.themes,
        labels.labelled_at
    from comments
    inner join labels on comments.text_key = labels.text_key
),

final as (
    select labelled.*
    from labelled
    {% if is_incremental() %}
    -- an anti-join and no watermark: a label can come days after its comment, a new version years after
    where not exists (
        select 1
        from {{ this }} as present
        where
            present.comment_id = labelled.comment_id
            and present.text_key = labelled.text_key
            and present.label_version = labelled.label_version
            and present.labelled_at = labelled.labelled_at
    )
    {% endif %}
)

select * from final

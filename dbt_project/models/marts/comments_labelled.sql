{#- Parquet on Spark can not replace a row, so there it is built anew each time. #}
{{ config(
    materialized="table" if target.type == "spark" else "incremental",
    unique_key="comment_id",
    on_schema_change="append_new_columns",
) }}

with comments as (
    select * from {{ ref("stg_comments") }}
),

labels as (
    -- what a person judged in part waits for the model's label
    select *
    from {{ ref("current_comment_labels") }}
    where sentiment is not null and intent is not null and themes is not null
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
        labels.labelled_by,
        labels.labelled_at
    from comments
    inner join labels on comments.text_key = labels.text_key
),

final as (
    select labelled.*
    from labelled
    {% if is_incremental() %}
    -- an anti-join and no watermark: a label can come days after its comment, a new version years after, and a person's
    -- correction without any time
    where not exists (
        select 1
        from {{ this }} as present
        where
            present.comment_id = labelled.comment_id
            and present.platform is not distinct from labelled.platform
            and present.film is not distinct from labelled.film
            and present.posted_at is not distinct from labelled.posted_at
            and present.text_key = labelled.text_key
            and present.label_version = labelled.label_version
            and present.sentiment is not distinct from labelled.sentiment
            and present.intent is not distinct from labelled.intent
            and present.themes is not distinct from labelled.themes
            and present.labelled_by = labelled.labelled_by
            and present.labelled_at is not distinct from labelled.labelled_at
    )
    {% endif %}
)

select * from final

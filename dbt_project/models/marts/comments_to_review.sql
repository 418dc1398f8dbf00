with labels as (
    select * from {{ ref("current_comment_labels") }}
),

comments as (
    select * from {{ ref("stg_comments") }}
),

texts as (
    select
        text_key,
        min(comment_text) as comment_text,
        min(comment_id) as comment_id,
        count(*) as occurrences
    from comments
    group by text_key
),

final as (
    select
        texts.text_key,
        texts.comment_id,
        texts.comment_text,
        texts.occurrences,
        labels.sentiment,
        labels.intent,
        labels.themes,
        labels.sentiment_confidence,
        labels.intent_confidence,
        labels.themes_confidence,
        labels.confidence
    from labels
    inner join texts on labels.text_key = texts.text_key
    -- no provider has to tell; and what a person decided has none
    where labels.confidence is not null
    order by labels.confidence, texts.text_key
    limit 100
)

select * from final

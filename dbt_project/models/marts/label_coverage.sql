{%- set task = dbt_labels.task("comments_to_label") -%}
with comments as (
    select * from {{ ref("stg_comments") }}
),

labelled as (
    select * from {{ ref("comments_labelled") }}
),

rejections as (
    select text_key
    from {{ ref("dbt_labels", "label_rejections") }}
    where label_table = '{{ task.table }}' and version = {{ task.version }}
),

pending as (
    select * from {{ ref("comments_to_label") }}
),

judged as (
    select
        comments.platform,
        comments.posted_at,
        case
            when comments.is_blank then 'blank'
            when labelled.comment_id is not null then 'labelled'
            when rejections.text_key is not null then 'rejected'
            when pending.text_key is not null then 'pending'
            else 'in_flight'
        end as coverage
    from comments
    left join labelled on comments.comment_id = labelled.comment_id and comments.text_key = labelled.text_key
    left join rejections on comments.text_key = rejections.text_key
    left join pending on comments.text_key = pending.text_key
),

final as (
    select
        platform,
        count(*) as comments,
        sum(case when coverage = 'labelled' then 1 else 0 end) as labelled,
        sum(case when coverage = 'rejected' then 1 else 0 end) as rejected,
        sum(case when coverage = 'in_flight' then 1 else 0 end) as in_flight,
        sum(case when coverage = 'pending' then 1 else 0 end) as pending,
        sum(case when coverage = 'blank' then 1 else 0 end) as blank,
        min(case when coverage = 'pending' then posted_at end) as oldest_pending_at
    from judged
    group by platform
)

select * from final

{#- One row per value of an `any_of` field, a JSON array string in `labels`. Arguments: `macros.yml`. -#}
{% macro unnest_labels(labels, field, keys) %}
    {{ return(adapter.dispatch("unnest_labels", "dbt_labels")(labels, field, keys)) }}
{% endmacro %}

{% macro default__unnest_labels(labels, field, keys) %}
    {{ exceptions.raise_compiler_error(
        "dbt_labels has no unnest_labels for " ~ target.type ~ " yet: write " ~ target.type
        ~ "__unnest_labels(labels, field, keys) in your project, giving a row per value"
    ) }}
{% endmacro %}

{% macro duckdb__unnest_labels(labels, field, keys) -%}
    select
        {% for key in keys %}{{ key }}, {% endfor %}
        unnest(from_json({{ adapter.quote(field) }}, '["VARCHAR"]')) as value
    from {{ labels }}
    where {{ adapter.quote(field) }} is not null
{%- endmacro %}

{#- No field can have a name that begins with `_`. -#}
{% macro postgres__unnest_labels(labels, field, keys) -%}
    select
        {% for key in keys %}{{ key }}, {% endfor %}
        _members._member as value
    from {{ labels }}
    cross join lateral json_array_elements_text(cast({{ adapter.quote(field) }} as json)) as _members (_member)
    where {{ adapter.quote(field) }} is not null
{%- endmacro %}

{% macro spark__unnest_labels(labels, field, keys) -%}
    select
        {% for key in keys %}{{ key }}, {% endfor %}
        explode(from_json({{ adapter.quote(field) }}, 'array<string>')) as value
    from {{ labels }}
    where {{ adapter.quote(field) }} is not null
{%- endmacro %}

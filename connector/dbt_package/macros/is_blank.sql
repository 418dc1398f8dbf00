{#- Whether a text has nothing to label: null, or only white space, control and invisible characters. -#}
{% macro is_blank(column) %}
    {{ return(adapter.dispatch("is_blank", "dbt_labels")(column)) }}
{% endmacro %}

{% macro default__is_blank(column) -%}
    ({{ column }} is null or trim({{ column }}) = '')
{%- endmacro %}

{#- Besides separators, control and format characters: the Hangul fillers, the empty braille cell, joiners and selectors
    that have no form of their own, all of which people post as "nothing". -#}
{% macro duckdb__is_blank(column) -%}
    ({{ column }} is null or regexp_full_match(
        {{ column }},
        '[\s\p{Z}\p{Cc}\p{Cf}\x{115F}\x{1160}\x{3164}\x{FFA0}\x{2800}\x{034F}\x{FE00}-\x{FE0F}]*'
    ))
{%- endmacro %}

{#- The same characters one by one, because a regular expression there knows no Unicode classes. -#}
{% macro postgres__is_blank(column) -%}
    ({{ column }} is null or {{ column }} !~ (
        '[^\u0001-\u0020\u007F-\u00A0\u00AD\u034F\u0600-\u0605\u061C\u06DD\u070F\u0890-\u0891\u08E2\u115F-\u1160\u1680'
        || '\u180E\u2000-\u200F\u2028-\u202F\u205F-\u2064\u2066-\u206F\u2800\u3000\u3164\uFE00-\uFE0F\uFEFF\uFFA0'
        || '\uFFF9-\uFFFB\U000110BD\U000110CD\U00013430-\U0001343F\U0001BCA0-\U0001BCA3\U0001D173-\U0001D17A'
        || '\U000E0001\U000E0020-\U000E007F]'
    ))
{%- endmacro %}

{#- The same list: the classes of Java's regular expressions change with its version. A text between r'' has no escapes. -#}
{% macro spark__is_blank(column) -%}
    ({{ column }} is null or not {{ column }} rlike (
        r'[^\u0000-\u0020\u007F-\u00A0\u00AD\u034F\u0600-\u0605\u061C\u06DD\u070F\u0890-\u0891\u08E2'
        || r'\u115F-\u1160\u1680\u180E\u2000-\u200F\u2028-\u202F\u205F-\u2064\u2066-\u206F\u2800\u3000\u3164'
        || r'\uFE00-\uFE0F\uFEFF\uFFA0\uFFF9-\uFFFB\x{110BD}\x{110CD}\x{13430}-\x{1343F}\x{1BCA0}-\x{1BCA3}'
        || r'\x{1D173}-\x{1D17A}\x{E0001}\x{E0020}-\x{E007F}]'
    ))
{%- endmacro %}

{% macro generate_schema_name(custom_schema_name, node) %}
    {# one schema for everything while people develop, the folder's own in production #}
    {% if target.name == 'prod' and custom_schema_name is not none %}
        {{ custom_schema_name | trim }}
    {% else %}
        {{ target.schema }}
    {% endif %}
{% endmacro %}

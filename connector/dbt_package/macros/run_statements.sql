{#- Runs statements one after the other and commits them, from a hook. -#}
{% macro run_statements(statements) %}
    {% for sql in statements %}
        {% call statement(auto_begin=true) %}{{ sql }}{% endcall %}
    {% endfor %}
    {% if statements %}
        {% do adapter.commit() %}
    {% endif %}
{% endmacro %}

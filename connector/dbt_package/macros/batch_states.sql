{#-
    The states of a batch, lowest rank first, and whether its claims still hold its texts.

    planned    claims and intent written; nothing sent
    uploading  about to upload the file
    uploaded   the file's id, and when the provider says it was created
    creating   about to create the batch
    fencing    about to delete the file of a batch that nobody can find, so that nothing can come of it any more
    released   never came to be; claims are free
    submitted  the provider's id is known
    ended      terminal at the provider, its status kept verbatim
    loaded     every claim has an outcome in the warehouse
    refused    the provider failed the whole batch at validation: nothing ran, claims are free
    lost       the output is gone; claims hold until a person decides
    reopened   a person gave it up: its texts may be sent, and paid for, again
-#}
{% macro batch_states() %}
    {{ return([
        {"name": "planned", "holds": true},
        {"name": "uploading", "holds": true},
        {"name": "uploaded", "holds": true},
        {"name": "creating", "holds": true},
        {"name": "fencing", "holds": true},
        {"name": "released", "holds": false},
        {"name": "submitted", "holds": true},
        {"name": "ended", "holds": true},
        {"name": "loaded", "holds": false},
        {"name": "refused", "holds": false},
        {"name": "lost", "holds": true},
        {"name": "reopened", "holds": false},
    ]) }}
{% endmacro %}

"""Bulk runs: one action on a frozen set of cases, and what came of each of them."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('desk', '0001_monitoring'),
    ]

    operations = [
        migrations.CreateModel(
            name='BulkRun',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('action', models.TextField()),
                ('source', models.TextField(blank=True, help_text='How the set was chosen, in words.')),
                ('size', models.IntegerField(help_text='How many cases were chosen; the set is frozen.')),
                ('phase', models.TextField(choices=[('PREVIEW', 'preview'), ('CANARY', 'trying the first one'), ('WAITING', 'waits for you'), ('RUNNING', 'running'), ('STOPPED', 'stopped'), ('DONE', 'done')], default='PREVIEW')),
                ('note', models.TextField(blank=True, help_text='Why it stands where it stands, in words.')),
                ('operator', models.TextField()),
                ('origin', models.TextField(blank=True)),
                ('reason', models.TextField(blank=True)),
                ('reference', models.TextField(blank=True)),
                ('per_second', models.SmallIntegerField(default=5)),
                ('goes_on', models.BooleanField(default=False, help_text='Go on by itself once the first one has succeeded.')),
                ('canary_position', models.IntegerField(null=True)),
                ('requested_by', models.TextField()),
                ('requested_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('started_by', models.TextField(blank=True)),
                ('started_at', models.DateTimeField(null=True)),
                ('stopped_by', models.TextField(blank=True, help_text='Who stopped it; empty when it stopped by itself.')),
                ('stopped_at', models.DateTimeField(null=True)),
                ('ended_at', models.DateTimeField(null=True)),
                ('due_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'verbose_name': 'bulk run',
                'permissions': (('run_bulk', 'Can act on many cases at once'),),
                'default_permissions': ('view',),
                'indexes': [models.Index(condition=models.Q(('phase__in', ('CANARY', 'RUNNING'))), fields=['due_at'], name='desk_bulk_at_work'), models.Index(condition=models.Q(('phase', 'PREVIEW')), fields=['requested_at'], name='desk_bulk_previews')],
            },
        ),
        migrations.CreateModel(
            name='BulkRow',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.IntegerField()),
                ('case_id', models.BigIntegerField()),
                ('key', models.UUIDField(help_text='The order id; empty for a case that does not exist.', null=True)),
                ('fingerprint', models.TextField(blank=True)),
                ('group', models.TextField(blank=True, help_text='The failure group, in words.')),
                ('step', models.TextField(blank=True, help_text='The stuck step and its direction, or who could not take a message.')),
                ('amount', models.BigIntegerField(help_text='The money that hangs on it, in minor units.', null=True)),
                ('currency', models.TextField(blank=True)),
                ('calls', models.TextField(blank=True, help_text='What is sent for it, in words.')),
                ('needs_approval', models.BooleanField(default=False)),
                ('seen_at', models.DateTimeField(null=True)),
                ('status', models.TextField(choices=[('WAITING', 'waiting'), ('REQUESTED', 'requested'), ('AWAITS_APPROVAL', 'awaits approval'), ('DONE', 'done'), ('FAILED_AGAIN', 'failed again'), ('OVERTAKEN', 'overtaken'), ('REFUSED', 'refused')], default='WAITING')),
                ('is_held', models.BooleanField(default=False)),
                ('result', models.TextField(blank=True)),
                ('action_id', models.BigIntegerField(help_text='Its line in the operator log.', null=True)),
                ('next_case_id', models.BigIntegerField(help_text='The case that it ended in when it has failed again.', null=True)),
                ('at', models.DateTimeField(null=True)),
                ('look_at', models.DateTimeField(null=True)),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rows', to='desk.bulkrun')),
            ],
            options={
                'verbose_name': 'case of a bulk run',
                'verbose_name_plural': 'cases of bulk runs',
                'default_permissions': ('view',),
                'indexes': [models.Index(fields=['run', 'status', 'position'], name='desk_bulk_outcome'), models.Index(condition=models.Q(('status__in', ('REQUESTED', 'AWAITS_APPROVAL'))), fields=['look_at'], name='desk_bulk_unsettled')],
                'constraints': [models.UniqueConstraint(fields=('run', 'case_id'), name='desk_bulk_case_once'), models.UniqueConstraint(fields=('run', 'position'), name='desk_bulk_position_once'), models.UniqueConstraint(condition=models.Q(('is_held', True)), fields=('case_id',), name='desk_bulk_one_live_run')],
            },
        ),
    ]

import django.contrib.postgres.constraints
import django.contrib.postgres.fields.ranges
import django.db.models.deletion
import django.db.models.functions.datetime
from django.contrib.postgres.operations import BtreeGistExtension
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        # The duplicate guard compares customer, items and time in one GiST index.
        BtreeGistExtension(),
        migrations.CreateModel(
            name='Order',
            fields=[
                ('id', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ('customer_id', models.BigIntegerField()),
                ('status', models.TextField(choices=[('PENDING', 'Pending'), ('CONFIRMED', 'Confirmed'), ('CANCELLING', 'Cancelling'), ('CANCELLED', 'Cancelled'), ('RETURNING', 'Returning'), ('RETURNED', 'Returned')], db_default='PENDING')),
                ('reason', models.TextField(blank=True, db_default='')),
                ('amount', models.BigIntegerField()),
                ('currency', models.TextField()),
                ('payment_method', models.TextField()),
                ('shipping_address', models.JSONField()),
                ('items_hash', models.BigIntegerField()),
                ('guard_window', django.contrib.postgres.fields.ranges.DateTimeRangeField()),
                ('placed_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'ordering': ('-id',),
                'indexes': [models.Index(models.F('customer_id'), models.OrderBy(models.F('id'), descending=True), name='orders_order_of_customer')],
                'constraints': [models.CheckConstraint(condition=models.Q(('status__in', ('PENDING', 'CONFIRMED', 'CANCELLING', 'CANCELLED', 'RETURNING', 'RETURNED'))), name='orders_order_status_known'), models.CheckConstraint(condition=models.Q(('amount__gte', 0)), name='orders_order_amount_not_negative'), models.CheckConstraint(condition=models.Q(('currency__regex', '^[A-Z]{3}$')), name='orders_order_currency_code'), django.contrib.postgres.constraints.ExclusionConstraint(expressions=(('customer_id', '='), ('items_hash', '='), ('guard_window', '&&')), name='orders_order_duplicate_guard')],
            },
        ),
        migrations.CreateModel(
            name='Price',
            fields=[
                ('sku', models.TextField(primary_key=True, serialize=False)),
                ('name', models.TextField()),
                ('amount', models.BigIntegerField()),
                ('currency', models.TextField()),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'ordering': ('sku',),
                'constraints': [models.CheckConstraint(condition=models.Q(('amount__gte', 0), ('amount__lte', 1000000000000)), name='orders_price_amount_in_range'), models.CheckConstraint(condition=models.Q(('currency__regex', '^[A-Z]{3}$')), name='orders_price_currency_code')],
            },
        ),
        migrations.CreateModel(
            name='OrderLine',
            fields=[
                ('pk', models.CompositePrimaryKey('order_id', 'position', blank=True, editable=False, primary_key=True, serialize=False)),
                ('position', models.SmallIntegerField()),
                ('sku', models.TextField()),
                ('name', models.TextField()),
                ('quantity', models.IntegerField()),
                ('unit_price', models.BigIntegerField()),
                ('order', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='lines', to='orders.order')),
            ],
            options={
                'ordering': ('order_id', 'position'),
                'constraints': [models.CheckConstraint(condition=models.Q(('quantity__gte', 1), ('quantity__lte', 10000)), name='orders_orderline_quantity_in_range'), models.CheckConstraint(condition=models.Q(('unit_price__gte', 0)), name='orders_orderline_unit_price_not_negative')],
            },
        ),
        # Room on each page for the two or three status updates of an order's life: no index is touched by them.
        migrations.RunSQL(
            "ALTER TABLE orders_order SET (fillfactor = 70); ALTER TABLE orders_price SET (fillfactor = 80)",
            "ALTER TABLE orders_order RESET (fillfactor); ALTER TABLE orders_price RESET (fillfactor)",
        ),
    ]

"""The URLs of payments, below /webhooks/payments/."""

from django.urls import path

from payments.api.views import PaymentWebhookView

urlpatterns = [path("<str:gateway>", PaymentWebhookView.as_view(), name="payment-webhook")]

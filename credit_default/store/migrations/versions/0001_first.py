"""Predictions, idempotent answers, users and invitations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def text(name, nullable=False, primary_key=False):
    "Return a column for text."
    return sa.Column(name, sa.Text, nullable=nullable, primary_key=primary_key)


def time(name, nullable=False):
    "Return a column for a moment."
    return sa.Column(name, sa.TIMESTAMP(timezone=True), nullable=nullable)


def number(name, kind):
    "Return a column for a number."
    return sa.Column(name, kind, nullable=False)


def upgrade():
    "Make the tables."
    op.create_table(
        "predictions",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            sa.Identity(),
            primary_key=True,
        ),
        text("prediction_id"),
        time("at"),
        text("endpoint"),
        text("user_id", True),
        text("username", True),
        text("reference", True),
        text("portfolio"),
        text("model_version"),
        text("sent"),
        text("scored"),
        text("bins"),
        number("probability_default", sa.Float(53)),
        number("log_odds", sa.Float(53)),
        number("prediction", sa.Integer),
        number("credit_score", sa.Integer),
        text("rating"),
        text("decision"),
        text("reasons"),
        number("latency_ms", sa.Float(53)),
        text("request_id"),
        text("idempotency_key", True),
        sqlite_autoincrement=True,
    )
    op.create_index("predictions_prediction_id", "predictions", ["prediction_id"], unique=True)
    op.create_index("predictions_at", "predictions", ["at"])
    op.create_index("predictions_reference", "predictions", ["reference"])
    op.create_index("predictions_portfolio_at", "predictions", ["portfolio", "at"])
    op.create_index("predictions_user", "predictions", ["user_id", "seq"])
    op.create_table(
        "answers",
        text("user_id", primary_key=True),
        text("key", primary_key=True),
        text("endpoint"),
        text("body_hash"),
        number("status", sa.Integer),
        sa.Column("content", sa.LargeBinary, nullable=False),
        time("at"),
    )
    op.create_index("answers_at", "answers", ["at"])
    op.create_table(
        "users",
        text("id", primary_key=True),
        text("username"),
        text("username_key"),
        text("email", True),
        text("email_key", True),
        text("password_hash"),
        text("role"),
        sa.Column("disabled", sa.Boolean, nullable=False),
        time("created_at"),
    )
    op.create_index("users_username_key", "users", ["username_key"], unique=True)
    op.create_index("users_email_key", "users", ["email_key"], unique=True)
    op.create_table(
        "invitations",
        text("token_hash", primary_key=True),
        text("role"),
        text("created_by"),
        time("expires_at"),
        text("used_by", True),
        time("used_at", True),
    )


def downgrade():
    "Drop the tables."
    for table in ("invitations", "users", "answers", "predictions"):
        op.drop_table(table)

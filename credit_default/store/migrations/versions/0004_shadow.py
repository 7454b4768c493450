"""What a challenger made of predictions that another model answered, and what it did not get to."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TIME = sa.TIMESTAMP(timezone=True)


def upgrade():
    "Make the tables of shadow scores, and of those that were dropped."
    op.create_table(
        "shadow_scores",
        sa.Column(
            "seq",
            NUMBER,
            sa.ForeignKey("predictions.seq", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("at", TIME, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("probability_default", sa.Float(53), nullable=False),
        sa.Column("credit_score", sa.Integer, nullable=False),
        sa.Column("rating", sa.Text, nullable=False),
        sa.Column("decision", sa.Text, nullable=False),
        sa.Column("scoring_ms", sa.Float(53), nullable=False),
    )
    op.create_table(
        "shadow_drops",
        sa.Column("id", NUMBER, sa.Identity(), primary_key=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("portfolio", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("predictions", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("shadow_drops_portfolio", "shadow_drops", ["portfolio", "model_version"])


def downgrade():
    "Drop them."
    op.drop_table("shadow_drops")
    op.drop_table("shadow_scores")

"""Outcomes and checks; an index from which monitoring counts, in place of an unused one."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TIME = sa.TIMESTAMP(timezone=True)


def upgrade():
    "Make the tables and the index of monitoring."
    op.create_table(
        "outcomes",
        sa.Column(
            "seq",
            NUMBER,
            sa.ForeignKey("predictions.seq", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("defaulted", sa.Boolean, nullable=False),
        sa.Column("observed_at", TIME, nullable=False),
        sa.Column("recorded_at", TIME, nullable=False),
        sa.Column("recorded_by", sa.Text),
    )
    op.create_table(
        "checks",
        sa.Column("id", NUMBER, sa.Identity(), primary_key=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("portfolio", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("since", TIME),
        sa.Column("until", TIME),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.Column("drifted", sa.Boolean, nullable=False),
        sa.Column("every_seconds", sa.Float(53)),
        sa.Column("alerted", sa.Boolean),
        sa.Column("result", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("checks_portfolio", "checks", ["portfolio", "id"])
    op.create_index(
        "predictions_window",
        "predictions",
        ["portfolio", "model_version", "at", "seq", "prediction", "bins"],
    )
    op.drop_index("predictions_portfolio_at", "predictions")


def downgrade():
    "Drop them, and make the index of before again."
    op.create_index("predictions_portfolio_at", "predictions", ["portfolio", "at"])
    op.drop_index("predictions_window", "predictions")
    op.drop_table("checks")
    op.drop_table("outcomes")

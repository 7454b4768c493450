"""Overrides of decisions; a check that could not tell says so in place of no drift."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TIME = sa.TIMESTAMP(timezone=True)
CHECKS = sa.table("checks", sa.column("id"), sa.column("drifted"), sa.column("result"))


def allow_unknown(nullable):
    "Let the column `drifted` be empty, or not. SQLite gets a new table, with the rows of the old."
    with op.batch_alter_table("checks", table_kwargs={"sqlite_autoincrement": True}) as batch:
        batch.alter_column("drifted", existing_type=sa.Boolean(), nullable=nullable)


def forget_unknown():
    "Empty the column `drifted` of checks that found nothing to compare, or too few rows to tell."
    connection = op.get_bind()
    quiet = sa.select(CHECKS.c.id, CHECKS.c.result).where(CHECKS.c.drifted == sa.false())
    unknown = [
        {"unknown": id}
        for id, result in connection.execute(quiet).all()
        if json.loads(result).get("drift_detected", False) is None
    ]
    if unknown:
        is_unknown = CHECKS.c.id == sa.bindparam("unknown")
        connection.execute(sa.update(CHECKS).where(is_unknown).values(drifted=sa.null()), unknown)


def upgrade():
    "Make the table of overrides, and let checks say that they could not tell."
    op.create_table(
        "overrides",
        sa.Column("id", NUMBER, sa.Identity(), primary_key=True),
        sa.Column(
            "seq", NUMBER, sa.ForeignKey("predictions.seq", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("at", TIME, nullable=False),
        sa.Column("decision", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("username", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("overrides_seq", "overrides", ["seq", "id"])
    allow_unknown(True)
    forget_unknown()


def downgrade():
    "Drop the table; what could not be told is no drift again."
    op.get_bind().execute(
        sa.update(CHECKS).where(CHECKS.c.drifted.is_(None)).values(drifted=sa.false())
    )
    allow_unknown(False)
    op.drop_table("overrides")

"""Channel taxonomy: one list of the channels revenue can be credited to.

Why    Channels were free text, and 'google', 'Google' and 'google_search' were three channels. The table
       names the nine that exist; the next revision makes allocations refer to it. It holds no customer
       data, so it has no tenant and no row security: app_rw maintains it, app_ro reads it.

Locks  Only the table made here.

Undo   Drops the table with every code in it, including codes that were added since.
"""

from alembic import op

revision: str = "202511141310"
down_revision: str | None = "202511141302"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE channel_taxonomy (
            code text NOT NULL,
            name text NOT NULL,
            description text,
            parent_code text,
            is_active boolean DEFAULT true NOT NULL,
            display_order integer,
            created_at timestamptz DEFAULT now() NOT NULL,
            updated_at timestamptz DEFAULT now() NOT NULL,
            CONSTRAINT channel_taxonomy_pkey PRIMARY KEY (code),
            CONSTRAINT channel_taxonomy_parent_code_fkey
                FOREIGN KEY (parent_code) REFERENCES channel_taxonomy (code)
        )
    """)
    op.execute("""
        INSERT INTO channel_taxonomy (code, name, description, display_order)
        VALUES
            ('google_search', 'Google Search', 'Paid results on Google Search', 1),
            ('facebook_ads', 'Facebook Ads', 'Paid placements on Facebook and Instagram', 2),
            ('direct', 'Direct', 'Visits without a referrer', 3),
            ('email', 'Email', 'Links in email campaigns', 4),
            ('organic', 'Organic Search', 'Unpaid results of search engines', 5),
            ('referral', 'Referral', 'Links on other sites', 6),
            ('social', 'Organic Social', 'Unpaid posts on social networks', 7),
            ('paid_search', 'Paid Search', 'Paid results of search engines other than Google', 8),
            ('display', 'Display', 'Banner and video advertising', 9)
    """)
    op.execute("""REVOKE ALL ON channel_taxonomy FROM PUBLIC""")
    op.execute("""GRANT SELECT, INSERT, UPDATE, DELETE ON channel_taxonomy TO app_rw""")
    op.execute("""GRANT SELECT ON channel_taxonomy TO app_ro""")
    op.execute("""
        COMMENT ON TABLE channel_taxonomy IS
            'Channels that revenue can be credited to; the same for every tenant.'
    """)
    op.execute("""
        COMMENT ON COLUMN channel_taxonomy.code IS
            'INVARIANT: analytics_important. Code that allocations refer to.'
    """)
    op.execute("""
        COMMENT ON COLUMN channel_taxonomy.name IS
            'INVARIANT: analytics_important. Name of the channel as shown to people.'
    """)
    op.execute("""
        COMMENT ON COLUMN channel_taxonomy.description IS
            'INVARIANT: none. What belongs to the channel.'
    """)
    op.execute("""
        COMMENT ON COLUMN channel_taxonomy.parent_code IS
            'INVARIANT: analytics_important. Channel this one is a part of, if any.'
    """)
    op.execute("""
        COMMENT ON COLUMN channel_taxonomy.is_active IS
            'INVARIANT: analytics_important. Whether new allocations may use the channel.'
    """)
    op.execute("""
        COMMENT ON COLUMN channel_taxonomy.display_order IS
            'INVARIANT: none. Place of the channel in lists.'
    """)
    op.execute("""
        COMMENT ON COLUMN channel_taxonomy.created_at IS
            'INVARIANT: none. When the row was made.'
    """)
    op.execute("""
        COMMENT ON COLUMN channel_taxonomy.updated_at IS
            'INVARIANT: none. When the row was last changed.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT channel_taxonomy_pkey ON channel_taxonomy IS
            'One row for each channel code.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT channel_taxonomy_parent_code_fkey ON channel_taxonomy IS
            'A parent is itself a channel of the list.'
    """)
    op.execute("""
        COMMENT ON INDEX channel_taxonomy_pkey IS
            'Finds a channel by its code.'
    """)


def downgrade() -> None:
    op.execute("""DROP TABLE channel_taxonomy""")

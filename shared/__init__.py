"""What more than one service needs: contracts first, then the ways to the broker and to the operator."""

"""Lint by phase: what a migration's file may do while two versions share a database.

Three looks, from cheap to thorough: the kinds of statements (`phases`), squawk's rules (`squawk`), and a rehearsal
on a scratch database whose catalogue is compared before and after (`rehearsal`, `catalogue`, `changes`). The first
two need nothing but the text, and stand before every phase that the runner carries out as well (`gate`).
"""

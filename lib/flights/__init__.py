"""Shared helpers of the worked example: which flights will leave New York late?"""
